import torch
from labsupport import training
from labsupport.data import load
torch.set_num_threads(1)
c=load('folder:DATA/cifar10-jpeg',seed=0); m=torch.load('OUT/ab_48_16.pt',weights_only=False).eval()
x,y=c.val.x,c.val.y; print(len(x))
def run(x): 
    with torch.no_grad(): return torch.cat([m(b) for b in x.split(250)])
pad=torch.nn.functional.pad
def view(x,dy,dx):
    p=pad(x,(1,1,1,1),'reflect'); return p[:,:,1+dy:33+dy,1+dx:33+dx]
L={}
for d in [(0,0),(1,1),(-1,-1),(0,1),(0,-1),(1,0),(-1,0)]:
    v=view(x,*d); L[d]=run(v)+run(v.flip(-1))
acc=lambda l:(l.argmax(1)==y).double().mean().item()
print('plain',acc(run(x)),'mirror',acc(L[0,0]),'jordan',acc(.5*L[0,0]+.25*L[1,1]+.25*L[-1,-1]),'five',acc(L[0,0]+L[0,1]+L[0,-1]+L[1,0]+L[-1,0]))
